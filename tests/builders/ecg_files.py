"""ECG files of every format, made from a signal: small, sound, and easy to damage."""

import base64
import binascii
import io
import struct
import zlib

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    TwelveLeadECGWaveformStorage,
)

from ecg_spark.ecg import INDEPENDENT_LEADS, LEADS
from ecg_spark.ecg.formats import huffman
from ecg_spark.ecg.formats.samples import Samples

SCP_CODES = {"I": 1, "II": 2, **{f"V{i}": i + 2 for i in range(1, 7)}}


def heart_mv(n: int = 5000, rate: float = 500.0) -> np.ndarray:
    """Eight leads of a train of bumps, [8, n]: enough of an ECG to be read."""
    t = np.arange(n) / rate
    beat = np.exp(-0.5 * (((t + 0.4) % 1.0 - 0.5) / 0.012) ** 2)
    wave = 0.2 * np.exp(-0.5 * (((t + 0.1) % 1.0 - 0.5) / 0.04) ** 2)
    gains = np.array([0.8, 1.1, -0.7, -0.5, 0.6, 1.2, 1.3, 1.0])
    return gains[:, None] * (beat + wave)


def cardiosoft(rows: dict[str, str], rate: object = 500, count: object = 5000) -> bytes:
    leads = "".join(f'<WaveformData lead="{k}">{v}</WaveformData>' for k, v in rows.items())
    return (
        '<?xml version="1.0" encoding="ISO-8859-1"?><CardiologyXML><StripData>'
        f'<SampleRate units="Hz">{rate}</SampleRate>'
        f"<ChannelSampleCountTotal>{count}</ChannelSampleCountTotal>"
        f'<Resolution units="uVperLsb">5</Resolution>{leads}</StripData></CardiologyXML>'
    ).encode("latin-1")


def text_rows(signal_mv: np.ndarray, microvolts: float = 5.0) -> dict[str, str]:
    units = np.rint(signal_mv * 1000 / microvolts).astype(int)
    return {
        lead: ",".join(map(str, row)) for lead, row in zip(INDEPENDENT_LEADS, units, strict=True)
    }


def wfdb_record(
    samples: np.ndarray,
    names: list[str],
    *,
    gains: list[str],
    rate: object = 500,
    file: str = "r.dat",
    name: str = "r",
) -> tuple[bytes, dict[str, bytes]]:
    """A format 16 record of digital values [leads, n]."""
    checksums = samples.astype(np.int64).sum(axis=1).astype(np.int16)
    lines = [f"{name} {len(names)} {rate} {samples.shape[1]}"]
    lines += [
        f"{file} 16 {gain} 16 0 0 {checksum} 0 {lead}"
        for gain, checksum, lead in zip(gains, checksums, names, strict=True)
    ]
    return "\n".join(lines).encode(), {"r.dat": samples.T.astype("<i2").tobytes()}


def heart(n: int = 3000, rate: float = 500.0) -> np.ndarray:
    """Eight leads in µV of a train of bumps on some noise, [8, n]."""
    rng = np.random.default_rng(5)
    t = np.arange(n) / rate
    beat = np.exp(-0.5 * (((t + 0.4) % 0.8 - 0.4) / 0.012) ** 2)
    gains = np.array([0.8, 1.1, -0.7, -0.5, 0.6, 1.2, 1.3, 1.0])
    return np.rint(1000 * gains[:, None] * beat + rng.normal(0, 10, (8, n))).astype(int)


def twelve(eight: np.ndarray) -> np.ndarray:
    """The twelve leads, in whole numbers, of eight whose I and II are brought to even ones."""
    one, two = eight[0] // 2 * 2, eight[1] // 2 * 2
    limb = [one, two, two - one, -(one + two) // 2, one - two // 2, two - one // 2]
    return np.vstack([*limb, eight[2:]])


def small_cardiosoft() -> bytes:
    return cardiosoft(text_rows(heart_mv(600, 100.0)), rate=100, count=600)


def small_muse() -> bytes:
    leads = ""
    for lead, row in zip(INDEPENDENT_LEADS, heart_mv(600, 100.0), strict=True):
        raw = np.rint(row * 200).astype("<i2").tobytes()
        leads += (
            f"<LeadData><LeadSampleCountTotal>600</LeadSampleCountTotal>"
            f"<LeadAmplitudeUnitsPerBit>4.88</LeadAmplitudeUnitsPerBit><LeadID>{lead}</LeadID>"
            f"<LeadDataCRC32>{zlib.crc32(raw)}</LeadDataCRC32>"
            f"<WaveFormData>{base64.b64encode(raw).decode()}</WaveFormData></LeadData>"
        )
    return (
        '<?xml version="1.0"?><!DOCTYPE RestingECG SYSTEM "restecg.dtd"><RestingECG><Waveform>'
        "<WaveformType>Rhythm</WaveformType><SampleBase>100</SampleBase>"
        f"<SampleExponent>0</SampleExponent>{leads}</Waveform></RestingECG>"
    ).encode()


def small_wfdb() -> tuple[bytes, dict[str, bytes]]:
    digital = np.rint(heart_mv(600, 100.0) * 1000).astype(int)
    return wfdb_record(digital, list(INDEPENDENT_LEADS), gains=["1000/mV"] * 8, rate=100)


def xli(rows: list[np.ndarray]) -> bytes:
    """Compress channels as XLI, with LZW codes that only name bytes."""
    chunks = b""
    for row in rows:
        values = np.zeros(row.size, dtype=np.int64)
        values[:2] = row[:2]
        bend = 2 * row[1:-1] - row[:-2] - row[2:]
        values[2:-1] = bend[1:] + 64
        words = values.astype(np.int16).view(np.uint16)
        data = np.concatenate([words >> 8, words & 0xFF])
        bits = (data[:, None] >> np.arange(9, -1, -1)) & 1
        packed = np.packbits(bits.astype(np.uint8).ravel()).tobytes()
        chunks += struct.pack("<ihh", len(packed), 1, int(bend[0])) + packed
    return chunks


def sierra(rows: list[np.ndarray], payload: bytes | None = None, method: str = "XLI") -> bytes:
    payload = xli(rows) if payload is None else payload
    milliseconds = rows[0].size * 2
    return (
        '<restingecgdata xmlns="http://www3.medical.philips.com"><documentinfo>'
        "<documentversion>1.04</documentversion></documentinfo><dataacquisition>"
        "<signalcharacteristics><samplingrate>500</samplingrate><resolution>5</resolution>"
        "</signalcharacteristics></dataacquisition><waveforms>"
        f'<parsedwaveforms dataencoding="Base64" compression="{method}" numberofleads="12" '
        f'leadlabels="{" ".join(LEADS)}" durationperchannel="{milliseconds}">'
        f"{base64.b64encode(payload).decode()}</parsedwaveforms></waveforms></restingecgdata>"
    ).encode()


def scp(sections: dict[int, bytes]) -> bytes:
    """Put the sections of an SCP record together, with their pointers and CRCs."""
    bodies = {0: bytes(10 * (len(sections) + 1)), **sections}
    at = 7
    pointers = b""
    for number, body in bodies.items():
        pointers += struct.pack("<HII", number, len(body) + 16, at)
        at += len(body) + 16
    bodies[0] = pointers
    content = b""
    for number, body in bodies.items():
        head = struct.pack(
            "<HIBB6s", number, len(body) + 16, 20, 20, b"SCPECG" if not number else b""
        )
        content += struct.pack("<H", binascii.crc_hqx(head + body, 0xFFFF)) + head + body
    content = struct.pack("<I", len(content) + 6) + content
    return struct.pack("<H", binascii.crc_hqx(content, 0xFFFF)) + content


def leads_section(n: int, flags: int = 4) -> bytes:
    leads = b"".join(struct.pack("<IIB", 1, n, code) for code in SCP_CODES.values())
    return bytes([8, flags]) + leads


def signal_section(
    rows: list[bytes], nanovolts: int, differences: int, microseconds: int = 2000
) -> bytes:
    head = struct.pack("<HHBB", nanovolts, microseconds, differences, 0)
    return head + struct.pack("<8H", *map(len, rows)) + b"".join(rows)


def differences_of(row: np.ndarray, order: int) -> np.ndarray:
    out = row.copy()
    out[order:] = np.diff(row, order)
    if order == 2:
        out[1] = row[1]
    elif order == 1:
        out[0] = row[0]
    return out


def encoded(row: np.ndarray, codes: tuple[huffman.HuffmanCode, ...]) -> bytes:
    """Encode numbers with a table's codes: the exact ones, else the widest."""
    return packed(bits_of(row, codes))


def packed(bits: str) -> bytes:
    """Bits as bytes, the first bit being the highest of its byte."""
    bits = bits.ljust(-(-len(bits) // 8) * 8, "0")
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def bits_of(row: np.ndarray, codes: tuple[huffman.HuffmanCode, ...]) -> str:
    """The bits of numbers in a table's codes: the exact ones, else the widest."""
    exact = {code.value: code for code in codes if not code.extra_bits and not code.switches}
    wide = max(codes, key=lambda code: code.extra_bits)
    bits = ""
    for value in row.tolist():
        if code := exact.get(value):
            bits += f"{code.prefix:0{code.prefix_bits}b}"
        else:
            extra = value & ((1 << wide.extra_bits) - 1)
            bits += f"{wide.prefix:0{wide.prefix_bits}b}{extra:0{wide.extra_bits}b}"
    return bits


OWN_TABLE = (
    huffman.HuffmanCode(2, 0, False, 0, 0b00),
    huffman.HuffmanCode(2, 0, False, 1, 0b01),
    huffman.HuffmanCode(2, 0, False, -1, 0b10),
    huffman.HuffmanCode(2, 16, False, 0, 0b11),
)


def table_section(*tables: tuple[huffman.HuffmanCode, ...]) -> bytes:
    body = struct.pack("<H", len(tables))
    for codes in tables:
        body += struct.pack("<H", len(codes))
        for code in codes:
            mirrored = int(f"{code.prefix:0{code.prefix_bits}b}"[::-1], 2)
            total, mode = code.prefix_bits + code.extra_bits, int(not code.switches)
            body += struct.pack("<BBBhI", code.prefix_bits, total, mode, code.value, mirrored)
    return body


def edf(
    rows: np.ndarray, *, labels: list[str], rate: int = 500, slower: int = 10, **fields: str
) -> bytes:
    """An EDF+ file of µV, the digital step being 0.5 µV, with a signal of another kind."""
    n_records = rows.shape[1] // rate
    names = [f"ECG {label}" for label in labels] + ["SaO2"]
    count = len(names)
    head = {
        "version": "0", "patient": "P-7 F X Someone", "recording": "Startdate X",
        "date": "02.03.19", "time": "04.05.06", "bytes": str(256 * (count + 1)),
        "reserved": "EDF+C", "records": str(n_records), "duration": "1", "signals": str(count),
    } | fields  # fmt: skip
    widths = (8, 80, 80, 8, 8, 8, 44, 8, 8, 4)
    text = "".join(value.ljust(width) for value, width in zip(head.values(), widths, strict=True))
    columns = (
        (names, 16), ([""] * count, 80), (["uV"] * len(labels) + ["%"], 8),
        (["-16384"] * count, 8), (["16383.5"] * count, 8), (["-32768"] * count, 8),
        (["32767"] * count, 8), ([""] * count, 80), ([str(rate)] * len(labels) + [str(slower)], 8),
        ([""] * count, 32),
    )  # fmt: skip
    text += "".join(value.ljust(width) for column, width in columns for value in column)
    digital = (rows * 2).astype("<i2")
    body = b""
    for record in range(n_records):
        body += digital[:, record * rate : (record + 1) * rate].tobytes() + bytes(2 * slower)
    return text.encode("latin-1") + body


def discontinuous_edf(
    rows: np.ndarray, starts: list[float], *, bits: int = 16, rate: int = 500
) -> bytes:
    """An EDF+D or BDF+D file of eight leads in µV whose records of 1 s begin at `starts`."""
    version, annotations = (b"0       ", "EDF") if bits == 16 else (b"\xffBIOSEMI", "BDF")
    names = [f"ECG {lead}" for lead in INDEPENDENT_LEADS] + [f"{annotations} Annotations"]
    count, limit, room = len(names), (1 << (bits - 1)) - 1, 16
    head = ("P-7 F X Someone", 80), ("Startdate X", 80), ("02.03.19", 8), ("04.05.06", 8)
    head += (str(256 * (count + 1)), 8), (f"{annotations}+D", 44), (str(len(starts)), 8)
    head += ("1", 8), (str(count), 4)
    columns = (
        (names, 16), ([""] * count, 80), (["uV"] * count, 8), ([str(-limit)] * count, 8),
        ([str(limit)] * count, 8), ([str(-limit)] * count, 8), ([str(limit)] * count, 8),
        ([""] * count, 80), ([str(rate)] * 8 + [str(room)], 8), ([""] * count, 32),
    )  # fmt: skip
    text = "".join(value.ljust(width) for value, width in head)
    text += "".join(value.ljust(width) for column, width in columns for value in column)
    body = b""
    for record, start in enumerate(starts):
        chosen = rows[:, record * rate : (record + 1) * rate].astype("<i4")
        stored = np.frombuffer(chosen.tobytes(), np.uint8).reshape(-1, 4)[:, : bits // 8]
        body += stored.tobytes() + f"+{start:.9g}\x14\x14\0".encode().ljust(room * bits // 8, b"\0")
    return version + text.encode() + body


def aecg(rows: np.ndarray) -> bytes:
    """An annotated ECG of eight leads in µV at 500 Hz."""
    sequences = "".join(
        f'<component><sequence><code code="MDC_ECG_LEAD_{lead}"/><value>'
        f'<origin value="0" unit="uV"/><scale value="1" unit="uV"/>'
        f"<digits>{' '.join(map(str, row))}</digits></value></sequence></component>"
        for lead, row in zip(INDEPENDENT_LEADS, rows, strict=True)
    )
    return (
        '<?xml version="1.0"?><AnnotatedECG xmlns="urn:hl7-org:v3"><component><series>'
        '<component><sequenceSet><component><sequence><code code="TIME_RELATIVE"/><value>'
        '<head value="0" unit="s"/><increment value="0.002" unit="s"/></value></sequence>'
        f"</component>{sequences}</sequenceSet></component></series></component></AnnotatedECG>"
    ).encode()


def dicom(
    rows: np.ndarray,
    groups: tuple[tuple[str, ...], ...] = (INDEPENDENT_LEADS,),
    *,
    offsets_ms: tuple[float, ...] = (),
    syntax: str = ExplicitVRLittleEndian,
    padding: int | None = None,
    **fields: object,
) -> bytes:
    """A 12-lead ECG object in µV at 500 Hz: `rows` of all groups in turn."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID = TwelveLeadECGWaveformStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset = Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID = TwelveLeadECGWaveformStorage
    dataset.PatientID = "7"
    for name, value in fields.items():
        setattr(dataset, name, value)
    dataset.WaveformSequence = []
    is_big = syntax == ExplicitVRBigEndian
    at = 0
    for number, names in enumerate(groups):
        group = Dataset()
        if offsets_ms:
            group.MultiplexGroupTimeOffset = str(offsets_ms[number])
        group.WaveformOriginality = "ORIGINAL"
        group.NumberOfWaveformChannels, group.NumberOfWaveformSamples = len(names), rows.shape[1]
        group.SamplingFrequency = "500"
        group.ChannelDefinitionSequence = []
        for lead in names:
            source, unit, channel = Dataset(), Dataset(), Dataset()
            source.CodeMeaning = f"Lead {lead}"
            unit.CodeValue = "uV"
            channel.ChannelSourceSequence = [source]
            channel.ChannelSensitivity = "1"
            channel.ChannelSensitivityUnitsSequence = [unit]
            group.ChannelDefinitionSequence.append(channel)
        group.WaveformBitsAllocated = 16
        group.WaveformSampleInterpretation = "SS"
        kind = ">i2" if is_big else "<i2"
        if padding is not None:
            group.add_new(0x5400100A, "OW", np.array(padding, kind).tobytes())
        chosen = rows[at : at + len(names)]
        at += len(names)
        group.add_new(0x54001010, "OW", chosen.T.astype(kind).tobytes())
        dataset.WaveformSequence.append(group)
    file = io.BytesIO()
    pydicom.dcmwrite(file, dataset, enforce_file_format=True)
    return file.getvalue()


def bare_dicom(data: bytes) -> bytes:
    """A DICOM file without preamble and meta group."""
    return data[144 + int.from_bytes(data[140:144], "little") :]


def segments() -> tuple[bytes, dict[str, bytes]]:
    """A WFDB record of two segments, which only the package wfdb reads."""
    eight = heart()
    files = {}
    for n, rows in ((1, eight[:, :1500]), (2, eight[:, 1500:])):
        header, companions = wfdb_record(
            rows, list(INDEPENDENT_LEADS), gains=["1000/mV"] * 8, file=f"s_{n}.dat", name=f"s_{n}"
        )
        files |= {f"s_{n}.hea": header, f"s_{n}.dat": companions["r.dat"]}
    return b"s/2 8 500 3000\ns_1 1500\ns_2 1500\n", files


def small_files() -> dict[str, tuple[bytes, dict[str, bytes]]]:
    """A sound file of each format, with the files beside it."""
    eight = heart()
    five = [row // 5 for row in eight]
    zeros = [np.zeros_like(five[0])] * 4
    few = heart(1250, 250.0)  # Huffman codes are slow to read
    coded = [encoded(differences_of(row, 2), huffman.DEFAULT_TABLE.codes) for row in few]
    default = (19999).to_bytes(2, "little")
    whole = {3: leads_section(1250), 6: signal_section(coded, 1000, 2, 4000)}
    return {
        "cardiosoft": (small_cardiosoft(), {}),
        "muse": (small_muse(), {}),
        "sierra": (sierra([*five[:2], *zeros, *five[2:]]), {}),
        "aecg": (aecg(eight), {}),
        "scp": (scp({2: default, **whole}), {}),
        "scp of its own table": (
            scp({2: table_section(OWN_TABLE), 3: whole[3], 6: own_section(few)}),
            {},
        ),
        "dicom": (dicom(eight), {}),
        "edf": (edf(eight, labels=list(INDEPENDENT_LEADS)), {}),
        "wfdb": small_wfdb(),
        "wfdb of segments": segments(),
        "hdf5": (
            hdf5(
                {"ecg": eight}, chunks=(4, 750), compression="gzip", shuffle=True, fletcher32=True
            ),
            {},
        ),
        "hdf5 of leads": (hdf5(dict(zip(INDEPENDENT_LEADS, eight, strict=True))), {}),
        "csv": (csv_table(eight, list(INDEPENDENT_LEADS)), {}),
        "parquet": (parquet_table(eight, list(INDEPENDENT_LEADS)), {}),
        "muse in gbk": (
            small_muse()
            .replace(b"?>", b' encoding="GBK"?>', 1)
            .replace(b"<RestingECG>", "<RestingECG><Name>王 &</Name>".encode("gbk")),
            {},
        ),
        "aecg in utf-16": (aecg(eight).decode().encode("utf-16"), {}),
        "dicom, deflated": (dicom(eight, syntax=DeflatedExplicitVRLittleEndian), {}),
        "dicom, bare and big-endian, in two groups": (
            bare_dicom(
                dicom(
                    eight,
                    (INDEPENDENT_LEADS[:2], INDEPENDENT_LEADS[2:]),
                    syntax=ExplicitVRBigEndian,
                )
            ),
            {},
        ),
        "edf with times": (discontinuous_edf(eight, [float(i) for i in range(6)]), {}),
        "bdf": (discontinuous_edf(eight, [float(i) for i in range(6)], bits=24), {}),
    }


def own_section(rows: np.ndarray) -> bytes:
    """Section 6 of an SCP record at 250 Hz in the codes of OWN_TABLE."""
    coded = [encoded(differences_of(row, 1), OWN_TABLE) for row in rows]
    return signal_section(coded, 1000, 1, 4000)


DESCRIBED = Samples(sampling_rate_hz=500, unit="uV", leads=INDEPENDENT_LEADS)
"""What a study says of the files of bare samples below."""


def hdf5(datasets: dict[str, object], **options: object) -> bytes:
    """An HDF5 file of the datasets, each with the options of h5py."""
    file = io.BytesIO()
    with h5py.File(file, "w") as opened:
        for name, values in datasets.items():
            opened.create_dataset(name, data=values, **options)
    return file.getvalue()


def csv_table(rows: np.ndarray, names: list[str], separator: str = ",") -> bytes:
    """A CSV of samples, a named lead a column."""
    lines = [separator.join(names), *(separator.join(map(str, row)) for row in rows.T.tolist())]
    return "\n".join(lines).encode() + b"\n"


def parquet_table(rows: np.ndarray, names: list[str], said: dict[str, str] | None = None) -> bytes:
    """A Parquet file of samples, a column a lead, that says of itself what it is told to."""
    table = pa.table(dict(zip(names, rows, strict=True))).replace_schema_metadata(said)
    file = io.BytesIO()
    pq.write_table(table, file)
    return file.getvalue()

"""Whether a sample's X chromosome is that of the sex that its participant reported.

A man has one X, so that his calls on it are never heterozygous. The inbreeding coefficient F of
the calls outside the pseudoautosomal regions is near 1 in men and near 0 in women.
"""

import hail as hl

from ecg_spark.genetics.genotypes.reading import called

MIN_VARIANTS = 200
"""Common variants on X below which F is too uncertain to tell anybody's sex."""

MIN_MAF = 0.05


def x_inbreeding(genotypes: hl.MatrixTable) -> dict[str, float] | None:
    """F of each sample on X, as of plink's --check-sex; None where X holds too few variants."""
    genome = genotypes.locus.dtype.reference_genome
    whole = [hl.parse_locus_interval(name, genome) for name in genome.x_contigs]
    on_x = hl.filter_intervals(genotypes, [hl.eval(one) for one in whole])
    common = (hl.min(on_x.af, 1 - on_x.af) >= MIN_MAF) & on_x.is_common
    on_x = on_x.filter_rows(on_x.locus.in_x_nonpar() & common)
    if on_x.count_rows() < MIN_VARIANTS:
        return None
    call = hl.unphased_diploid_gt_index_call(called(on_x.n_alt))
    found = on_x.annotate_cols(f=hl.agg.inbreeding(call, on_x.af).f_stat).cols()
    return dict(hl.tuple([found.s, found.f]).collect())

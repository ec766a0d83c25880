"""Who is analysed: samples and participants, relatives, ancestry and sex."""

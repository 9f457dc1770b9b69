"""DPO: direct preference optimization on pairs of responses that the vote tells apart."""

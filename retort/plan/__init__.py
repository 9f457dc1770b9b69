"""What a run will need before it is started: memory on the GPU, tokens, FLOPs and hours, stage by stage."""

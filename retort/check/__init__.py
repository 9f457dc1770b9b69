"""What a run would be refused for, stages later, found out at once and together before anything is started."""

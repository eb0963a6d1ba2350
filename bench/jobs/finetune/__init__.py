"""Fine-tune: one network on one label fraction of one data set."""

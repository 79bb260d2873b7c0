"""The GPU agent: reads one host's GPUs through NVML and sends a sample of each per interval."""

"""What tests share: recorded numbers, synthetic studies, setups, probes."""

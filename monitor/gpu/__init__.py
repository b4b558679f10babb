"""The GPU as the NVIDIA driver shows it: what it is, what it does during a session, whether it may be used.

Everything is read through NVML (`nvidia-ml-py`) and nothing is changed. Clocks in MHz, powers in watts,
temperatures in °C, sizes in bytes, energies in joules.
"""

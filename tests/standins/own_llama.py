"""What an owner might start: llama.cpp's server out of a Python of his, `own_llama.py PORT MODEL DRAFTS`."""

from __future__ import annotations

import os
import signal
import sys

import xllamacpp

port, model, drafts = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
params = xllamacpp.CommonParams()
params.model.path = model
params.port = port
params.n_ctx, params.n_parallel = 1024, 1
params.endpoint_metrics = params.endpoint_slots = params.endpoint_props = True
params.fit_params = False
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
if drafts:
    speculation = params.speculative
    speculation.types = [xllamacpp.common_speculative_type.COMMON_SPECULATIVE_TYPE_DRAFT_MTP]
    speculation.draft.n_max, speculation.draft.n_min, speculation.draft.p_min = drafts, 0, 0.0
    speculation.draft.cpuparams.n_threads = 1
    if hasattr(params, "load_mtp"):
        params.load_mtp = True
server = xllamacpp.Server(params)
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
while True:
    signal.pause()

# The service without any engine: engines are installed at run time, each in an environment of its own.
FROM python:3.13-slim

# Engines compile when they start or are installed: Triton, which vLLM for CUDA runs on, its launchers (a C compiler,
# and the headers of Python that this image has), llama-cpp-python the whole of llama.cpp. There is no nvcc:
# docs/operations.md says what that means.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc g++ libc6-dev \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home --uid 10001 monitor && install -d -o monitor /state /config
WORKDIR /app
COPY requirements.txt pyproject.toml README.md ./
COPY monitor monitor
COPY alembic alembic
COPY templates templates
COPY checks checks
RUN pip install --no-cache-dir "$(grep -o '^uv==[0-9.]*' requirements.txt)" \
    && uv pip install --system --no-cache --require-hashes -r requirements.txt \
    && uv pip install --system --no-cache --no-deps .

USER monitor
ENV MTP_MONITOR_STATE=/state MTP_MONITOR_WEB__HOST=0.0.0.0
WORKDIR /config
VOLUME /state
EXPOSE 8640
# /healthz says 503 when a part of the service has stopped working.
HEALTHCHECK --interval=60s --timeout=10s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8640/healthz', timeout=8)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["mtp-monitor"]
CMD ["serve"]

# The service without any engine: engines are installed at run time, each in an environment of its own.
FROM python:3.13-slim

RUN useradd --create-home --uid 10001 monitor
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
ENV MTP_MONITOR_STATE=/state
VOLUME /state
ENTRYPOINT ["mtp-monitor"]
CMD ["doctor"]

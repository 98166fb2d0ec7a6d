# Written where no container engine runs: see docs/how-to/run-in-production.md, "Containers", for what was checked.

FROM python:3.12-slim AS build
WORKDIR /src
COPY . .
# The build fetches the page's third-party files by the hashes of package-lock.json.
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheel .

FROM python:3.12-slim
COPY requirements.lock /tmp/requirements.lock
RUN pip install --no-cache-dir --require-hashes --requirement /tmp/requirements.lock
COPY --from=build /wheel /tmp/wheel
RUN pip install --no-cache-dir --no-deps --no-index /tmp/wheel/wecom_crm-*.whl
RUN useradd --system --uid 10001 --no-create-home wecom-crm \
    && install --directory --owner=wecom-crm --mode=0700 /var/lib/wecom-crm
USER wecom-crm
ENV WECOM_CRM_CONFIG=/etc/wecom-crm.toml \
    WECOM_CRM_SERVICE__HOST=0.0.0.0 \
    WECOM_CRM_SERVICE__DATA_DIR=/var/lib/wecom-crm
# Ingest's event log: what got 200 and is not applied yet is nowhere else.
VOLUME /var/lib/wecom-crm
EXPOSE 8080
ENTRYPOINT ["wecom-crm"]
CMD ["serve", "all"]

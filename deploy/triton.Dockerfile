# Eyecatch's models in Triton: docker build -f deploy/triton.Dockerfile -t ghcr.io/eyecatch/eyecatch-triton:0.1.0 .
FROM nvcr.io/nvidia/tritonserver:25.06-py3
ENV PIP_BREAK_SYSTEM_PACKAGES=1 PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1
COPY pyproject.toml README.md LICENSE /src/
COPY services /src/services
COPY adapters /src/adapters
RUN pip install --no-cache-dir /src
COPY deploy/triton /models
USER 10001:10001
EXPOSE 8001 8002
CMD ["tritonserver", "--model-repository=/models", "--allow-http=false", "--backend-config=python,stub-timeout-seconds=120"]

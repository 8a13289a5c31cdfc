# Eyecatch's models in NVIDIA's Triton, on GPUs with a driver for CUDA 13. docs/release.md has the command.
# 25.10 has CUDA 13.0 and Python 3.12; the torch of PyPI brings CUDA 13.0 too, so that one driver serves both.
ARG TRITON=nvcr.io/nvidia/tritonserver:25.10-py3
FROM ${TRITON} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
SHELL ["/bin/sh", "-eu", "-c"]
WORKDIR /src
COPY deploy/locks locks
# In a folder of their own: NVIDIA's image has another numpy. The second command puts the locked versions in the place of torch's choice.
RUN pip install --target /opt/eyecatch torch==2.13.0; \
    pip install --target /opt/eyecatch --upgrade --no-deps --require-hashes -r locks/triton.txt
COPY pyproject.toml README.md LICENSE ./
COPY services services
COPY adapters adapters
RUN pip install --require-hashes --target /tmp/hatch -r locks/build.txt; \
    PYTHONPATH=/tmp/hatch pip install --target /opt/eyecatch --no-deps --no-build-isolation .

FROM ${TRITON}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="eyecatch-triton" \
      org.opencontainers.image.description="Eyecatch's models in NVIDIA Triton" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/eyecatch /opt/eyecatch
COPY deploy/triton /models
ENV PYTHONPATH=/opt/eyecatch PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1
USER 10001:10001
EXPOSE 8001 8002
CMD ["tritonserver", "--model-repository=/models", "--allow-http=false", "--backend-config=python,stub-timeout-seconds=120"]

# docker build -f deploy/images/decoder.Dockerfile [--build-arg DEVICE=cuda] -t luvc-decoder .
#
# DEVICE: cpu, or cuda. CUDA's libraries come with torch, so that both start from the same image;
# the machine brings the driver and NVIDIA's container runtime.
ARG PYTHON=3.11-slim-bookworm

FROM python:${PYTHON} AS build
ARG DEVICE=cpu
ARG TORCH_CPU_INDEX=https://download.pytorch.org/whl/cpu
WORKDIR /src
COPY constraints.txt ./
# torch before and apart from the package: a change of ours does not fetch gigabytes again.
RUN pip install --no-cache-dir -c constraints.txt torch \
    $([ "$DEVICE" = cpu ] && echo --index-url "$TORCH_CPU_INDEX")
COPY . .
# A wheel, so that the image runs what was packed and not what lay around.
RUN pip wheel --no-cache-dir --no-deps -w /wheels . \
    && pip install --no-cache-dir -c constraints.txt "$(echo /wheels/luvc-*.whl)[serve,traces]"

FROM python:${PYTHON}
# /usr/local, not an environment of its own: login shells reset PATH, and find Python here still.
COPY --from=build /usr/local /usr/local
RUN apt-get update && apt-get install -y --no-install-recommends wget \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --uid 10001 --no-create-home --home-dir /tmp luvc
# The root is meant to be read-only: all that is written goes to /tmp, and downloads to /models.
ENV HOME=/tmp HF_HOME=/models PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    RAY_USAGE_STATS_ENABLED=0
RUN mkdir /models && chown 10001:10001 /models
USER 10001:10001
EXPOSE 6379 8000 8080 50052
# The head answers here once Serve's proxy runs. Kubernetes does not look at this: KubeRay brings
# probes of its own, which call wget.
HEALTHCHECK --interval=10s --timeout=5s --start-period=600s --retries=3 \
    CMD ["wget", "-q", "-O", "/dev/null", "http://127.0.0.1:8000/-/healthz"]
# Serves nothing by itself: KubeRay and compose.yaml run `ray start ...`.
CMD ["ray", "--help"]

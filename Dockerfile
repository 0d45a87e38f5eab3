# An image with everything installed, for processors alone or, on a base with CUDA's compiler, for NVIDIA GPUs:
#
#   docker build -t ngff .
#   docker build -t ngff:cuda --build-arg BASE=nvidia/cuda:12.8.1-devel-ubuntu24.04 .
#   docker run --rm -it -v "$PWD/output:/ngff/output" ngff                       # the quickstart
#   docker run --rm -it --gpus all -p 127.0.0.1:8088:8088 ngff:cuda bash
#
# --build-arg NGFF_TORCH_INDEX=URL takes PyTorch from another index: `bash setup_env.sh --help` says when that pays.
ARG BASE=debian:bookworm-slim
FROM ${BASE}

# The compiler is for gsplat's kernels, which are built when they are first used.
# A base image has one version of each of these.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends build-essential ca-certificates python3 python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /ngff
# The environment in a layer of its own: it is kept while only the code changes.
COPY requirements.txt setup_env.sh ./
ARG NGFF_TORCH_INDEX
RUN bash setup_env.sh
COPY . .
ENV PATH=/ngff/.venv/bin:$PATH
CMD ["bash", "scripts/quickstart.sh"]

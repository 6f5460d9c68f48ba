# The command line in a container: CPU only, not root. Build with the folder of this file as context:
#   docker build --tag edgeprune .
#   docker run --rm --volume "$PWD:/work" --user "$(id -u)" edgeprune compress model.pt2 --target rpi4
# Any base with Python 3.11 or newer and glibc will do.
ARG BASE=python:3.11-slim

FROM ${BASE} AS build
# Formats beside ONNX and TFLite: --build-arg EXTRAS=openvino,executorch,ncnn
ARG EXTRAS=
# pip's own variables, where wheels do not come from its default index. On x86-64 that index has torch with several
# gigabytes of CUDA: give one with CPU builds, --build-arg PIP_EXTRA_INDEX_URL=...
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_FIND_LINKS
ARG PIP_CERT
WORKDIR /src
COPY pyproject.toml constraints.txt README.md ./
RUN python3 -m venv /opt/edgeprune \
    && /opt/edgeprune/bin/pip install --no-cache-dir --constraint constraints.txt torch==2.13.0
COPY edgeprune edgeprune
COPY targets targets
RUN /opt/edgeprune/bin/pip install --no-cache-dir --constraint constraints.txt ".${EXTRAS:+[$EXTRAS]}" \
    && /opt/edgeprune/bin/pip uninstall --yes pip

FROM ${BASE}
COPY --from=build /opt/edgeprune /opt/edgeprune
# HOME may be written by any user that `docker run --user` names: caches go there.
ENV PATH=/opt/edgeprune/bin:$PATH HOME=/home/user
RUN useradd --home-dir /home/user user && install -d -m 1777 /home/user /work
USER user
WORKDIR /work
ENTRYPOINT ["edgeprune"]

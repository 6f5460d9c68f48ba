# The command line in a container: CPU only, not root. Build with the folder of this file as context.
FROM python:3.11-slim

WORKDIR /opt/edgeprune
COPY pyproject.toml constraints.txt README.md ./
COPY edgeprune edgeprune
COPY targets targets
# torch first and pinned: an unpinned one brings several gigabytes of CUDA packages.
RUN pip install --no-cache-dir --constraint constraints.txt torch==2.13.0 \
    && pip install --no-cache-dir --constraint constraints.txt .

RUN useradd --create-home user
USER user
WORKDIR /work
ENTRYPOINT ["edgeprune"]

# Images of vllm-prod-stack.
#
#   docker build -t vllm-prod-stack .                              adapter, autoscaler and router
#   docker build -t vllm-prod-stack-emulator --target emulator .   an engine without a GPU, for tests and demonstrations
#
# Binaries that are built already (a folder with adapter, autoscaler, router and engine-emulator as the build context) go in
# with `--build-arg BINARIES=prebuilt`; `--build-arg BASE=image` takes another base, which needs glibc and the certificates
# of public authorities, and no shell. The builder stages that are not asked for are never run.
ARG BASE=gcr.io/distroless/cc-debian12:nonroot
ARG BINARIES=builder
ARG RUST=docker.io/library/rust:1.95.0-bookworm

FROM ${RUST} AS builder
# aws-lc-sys needs cmake and a C compiler
RUN apt-get update && apt-get install -y --no-install-recommends cmake && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/source/target \
    cargo build --release --locked -p adapter -p autoscaler -p router -p engine-emulator && \
    mkdir /binaries && cd target/release && cp adapter autoscaler router engine-emulator /binaries/

FROM scratch AS prebuilt
COPY [a-z]* /binaries/

FROM ${BINARIES} AS binaries

FROM ${BASE} AS emulator
COPY --from=binaries /binaries/engine-emulator /usr/local/bin/engine-emulator
# a chart's `vllm serve MODEL …` starts it
COPY --from=binaries /binaries/engine-emulator /usr/local/bin/vllm
USER 65532:65532
EXPOSE 8000
ENTRYPOINT ["/usr/local/bin/engine-emulator"]

FROM ${BASE} AS programs
COPY --from=binaries /binaries/adapter /binaries/autoscaler /binaries/router /usr/local/bin/
USER 65532:65532
ENV PATH=/usr/local/bin
# data port of the router, API of the adapter, admin port of each
EXPOSE 8000 6443 9100
CMD ["/usr/local/bin/router", "--help"]

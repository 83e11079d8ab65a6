# Builds Caffe with the layers of randrop, and keeps what scripts/bundle.py packs of it:
#   docker build -t randrop .
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/data" randrop predict photo.jpg
# On another system: --build-arg SYSTEM=ubuntu:22.04 --build-arg SLIM=ubuntu:22.04
ARG SYSTEM=debian:12
# What the result runs on: as old as SYSTEM, or newer.
ARG SLIM=debian:12-slim
FROM ${SYSTEM} AS build
COPY . /src
WORKDIR /src
# By name: images of the OCI format, as buildah makes them, ignore SHELL.
RUN bash -euc '. scripts/need_python.sh; \
    python3 scripts/build_caffe.py --no-tests; \
    build/venv/bin/python scripts/bundle.py --out /randrop.tar.gz; \
    mkdir /randrop; tar -xf /randrop.tar.gz -C /randrop --strip-components=1; \
    rm /randrop.tar.gz'

FROM ${SLIM}
COPY --from=build /randrop /opt/randrop
# Any user may run it, also one whom the image does not know and who has no home.
ENV PATH=/opt/randrop/bin:$PATH HOME=/tmp
USER 1000:1000
WORKDIR /data
CMD ["train", "--help"]

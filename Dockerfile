# Builds Caffe with the layers of randrop, and keeps what scripts/bundle.py packs of it:
#   docker build -t randrop .
#   docker run --rm -v "$PWD:/data" randrop predict photo.jpg
ARG DEBIAN=debian:12
FROM ${DEBIAN} AS build
COPY . /src
WORKDIR /src
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
RUN . scripts/need_python.sh \
    && python3 scripts/build_caffe.py --no-tests \
    && build/venv/bin/python scripts/bundle.py --out /randrop.tar.gz \
    && mkdir /randrop && tar -xf /randrop.tar.gz -C /randrop --strip-components=1 \
    && rm /randrop.tar.gz

FROM ${DEBIAN}-slim
COPY --from=build /randrop /opt/randrop
ENV PATH=/opt/randrop/bin:$PATH
RUN useradd --create-home --uid 1000 randrop
USER 1000
WORKDIR /data
CMD ["train", "--help"]

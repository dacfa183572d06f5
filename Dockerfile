# A small image of the service: the page and API of `mova serve`, as a user without rights, with a token.
#
#     docker build -t mova .
#     docker run -p 127.0.0.1:8765:8765 -e MOVA_TOKEN=... -v /srv/films:/films:ro -v mova-data:/data mova
#
# The index stays in the volume /data. Without MOVA_TOKEN a new token is made at every start, and printed. PyTorch's CPU
# build makes the image much smaller: --build-arg TORCH_INDEX=(address of the package index that has it).
FROM python:3.12-slim AS build
ARG TORCH_INDEX=""
WORKDIR /src
COPY pyproject.toml hatch_build.py README.md LICENSE CHANGELOG.md constraints.txt ./
COPY src ./src
RUN python -m venv /opt/mova \
 && /opt/mova/bin/pip install --no-cache-dir --constraint constraints.txt \
    ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} '.[serve,natural,edit]'

FROM python:3.12-slim
COPY --from=build /opt/mova /opt/mova
RUN useradd --create-home --uid 10001 mova && mkdir /data && chown mova /data
USER mova
WORKDIR /data
ENV PATH=/opt/mova/bin:$PATH \
    HOME=/data \
    PYTHONUNBUFFERED=1
VOLUME /data
EXPOSE 8765
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
  CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:8765/login', timeout=4)"]
ENTRYPOINT ["mova"]
CMD ["serve", "--host", "0.0.0.0", "--index", "/data/index", "--model", "mova-natural", "--folder", "/films"]

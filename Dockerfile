# Two images from one file:
#   docker build --target export -t onepath-export .    builds bundles (torch, no server)
#   docker build --target server -t onepath-server .    serves them (NVIDIA Triton, no torch)
ARG TRITON=26.06-py3
ARG PYTHON=3.12

FROM python:${PYTHON}-slim AS wheel
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY onepath onepath
RUN pip wheel --no-deps --wheel-dir /wheels .

FROM python:${PYTHON}-slim AS export
COPY constraints.txt /tmp/constraints.txt
COPY --from=wheel /wheels /tmp/wheels
RUN wheel="$(ls /tmp/wheels/onepath-*.whl)" \
 && pip install --no-cache-dir -c /tmp/constraints.txt "${wheel}[export,demo]" \
 && rm -rf /tmp/wheels
WORKDIR /bundles
ENTRYPOINT ["onepath"]
CMD ["--help"]

FROM nvcr.io/nvidia/tritonserver:${TRITON} AS server
COPY --from=wheel /wheels /tmp/wheels
RUN wheel="$(ls /tmp/wheels/onepath-*.whl)" \
 && pip install --no-cache-dir --break-system-packages "${wheel}[serve]" \
 && python3 -c "import importlib.util as u; assert u.find_spec('torch') is None, 'torch must not be in the server image'" \
 && rm -rf /tmp/wheels
COPY model_repository /models
EXPOSE 8000 8001 8002
HEALTHCHECK --start-period=60s --interval=10s CMD python3 -c "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/v2/health/ready', timeout=5)"
ENTRYPOINT ["onepath", "serve"]
CMD ["/models", "--host", "0.0.0.0"]

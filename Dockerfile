# The site and its demos, for a Docker Space or any host; the same image runs on a CPU and on a GPU.
# A much smaller image without CUDA: --build-arg PIP_FLAGS="--index-url ADDRESS", with the address of PyTorch's CPU wheels.
FROM python:3.11-slim

RUN useradd --create-home --uid 1000 user
USER user
WORKDIR /home/user/app
ENV HOME=/home/user PATH=/home/user/.local/bin:$PATH HOST=0.0.0.0 PORT=7860 PYTHONUNBUFFERED=1

# torch by itself: it is large and changes seldom, so its layer is kept
COPY --chown=user constraints.txt ./
ARG PIP_FLAGS=""
RUN pip install --no-cache-dir --constraint constraints.txt $PIP_FLAGS torch

COPY --chown=user . .
RUN pip install --no-cache-dir --constraint constraints.txt --editable '.[docs,demos]' && largemodels build

EXPOSE 7860
HEALTHCHECK --start-period=60s CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:7860/healthz')"]
CMD ["largemodels", "serve"]

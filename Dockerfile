# A server of bundles on a CPU, for a user without rights:
#
#   docker build -t composer .
#   docker run --rm -p 127.0.0.1:8000:8000 composer mega-asr-mini
#
# Bundles of the Hub are kept in the volume /models: -v composer-models:/models. Set COMPOSER_API_KEY
# where others reach the port.
FROM python:3.12-slim AS wheel
COPY . /src
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels /src

FROM python:3.12-slim
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    pip install --no-cache-dir "$(ls /wheels/*.whl)[serve]"
RUN useradd --uid 10001 --create-home composer && install -d -o composer /models
USER composer
WORKDIR /home/composer
ENV HF_HOME=/models PYTHONUNBUFFERED=1
VOLUME /models
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --start-period=10m CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health')"]
ENTRYPOINT ["composer", "serve", "--host", "0.0.0.0"]
CMD ["mega-asr-mini"]

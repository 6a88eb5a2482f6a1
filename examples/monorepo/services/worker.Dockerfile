FROM python-base:3.12
WORKDIR /app
COPY src/worker.py ./
CMD ["python", "worker.py"]

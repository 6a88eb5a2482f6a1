FROM alpine:3.20
RUN echo \\
ARG A=1
LABEL a=$A

FROM alpine:3.20
ARG A=1
RUN ['single', "$A"]
CMD ["open"
ENTRYPOINT [ "a", ]
LABEL a=$A

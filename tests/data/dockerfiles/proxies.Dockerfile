FROM alpine:3.20
ARG HTTP_PROXY
ARG no_proxy=x
RUN echo

# escape=`
ARG PATHS="C:\\x`"y"
FROM alpine:3.20 `
  AS build
ARG PATHS
ENV P=$PATHS Q=`$PATHS
RUN echo `
  FROM no:1
LABEL dir=C:\
ARG LAST=\
LABEL last=$LAST

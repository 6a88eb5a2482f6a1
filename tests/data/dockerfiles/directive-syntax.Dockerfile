# syntax=docker/dockerfile:1
# check=skip=JSONArgsRecommended
# escape=`
# other=x
# escape=\
FROM alpine:3.20
ARG A=1 `
  B=2
LABEL a=$A b=$B

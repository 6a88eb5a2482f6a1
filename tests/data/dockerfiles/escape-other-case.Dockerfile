#   EsCaPe  =  `
FROM alpine:3.20
LABEL a=x `
  b=y
ARG A=`$B
LABEL c=$A

FROM alpine:3.20 AS below
ARG A=1
ENV B=$A
FROM below
LABEL a=-$A- b=$B
RUN echo $A

FROM alpine:3.20
LABEL a=1 \

  b=2 \  	
	
  c=3

ARG D=4 \

LABEL d=no
ENV D=$D

# A comment.
# escape=`
FROM alpine:3.20
LABEL a=x\
y
ARG A=`
LABEL b=$A

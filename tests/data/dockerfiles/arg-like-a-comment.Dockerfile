FROM alpine:3.20
ARG A=a#b \
    #C=no
    B=#
LABEL a=$A b="# $B" #c=1

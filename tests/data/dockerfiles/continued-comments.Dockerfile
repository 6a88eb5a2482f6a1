FROM alpine:3.20
# FROM no:1 \
ARG A=1 \
# ARG B=no
    # ARG C=no \
    B=2 \
#
    C=3
RUN echo $A \
  # not the shell's
  $B \
# FROM no:2
  $C
ENV ALL=$A-$B-$C

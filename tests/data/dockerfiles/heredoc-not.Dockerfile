FROM alpine:3.20
ARG A=1
RUN cat <<<EOF $((1<<2))
RUN ["/bin/sh", "<<EOF"]
CMD cat <<EOF
ENV X=<<EOF
LABEL x="<<EOF" a=$A

FROM alpine:3.20
ARG A=1
ENV B=\$A C='$A' D="\$A" E=$ F=a$
LABEL b=$B c=$C d=$D e=$E f=$F
CMD echo $A

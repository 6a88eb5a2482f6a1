FROM alpine:3.20
ARG A=1
SHELL ["/bin/sh", "-eu", "-c"]
RUN echo $A
RUN ["/bin/sh", "-x", "$A"]
ENTRYPOINT ["/bin/sh", "-c", "echo $A"]
CMD [ "a" , "$A" ]
STOPSIGNAL SIGTERM

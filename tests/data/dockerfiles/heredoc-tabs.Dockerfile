FROM alpine:3.20
ARG A=1
RUN <<-EOF
	FROM no:1
 EOF
		EOF
RUN cat << 'X' <<-'END'
FROM no:2
X
	ARG A=2
	END
FROM alpine:3.20
COPY --from=0 /etc/base /

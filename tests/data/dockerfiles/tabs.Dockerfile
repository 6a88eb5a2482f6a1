	ARG	TAG=3.20	
	 FROM	alpine:$TAG	AS	build	
		ARG	A=1	B=2	
	LABEL	a=$A		b=$B
	FROM	build

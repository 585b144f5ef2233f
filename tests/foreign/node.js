require("http").createServer((request, response) => {
  if (request.url.length % 2) response.setHeader("Content-Length", request.url.length);
  response.write(request.url[0]);
  response.end(request.url.slice(1));
}).listen(Number(process.argv[2]), "127.0.0.1");

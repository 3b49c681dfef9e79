// HTTP/1.1 test server: node server.js PORT LOG.
//
// Serves the suite's common verbs (see tests/src/verbs.rs) and writes one line
// `METHOD path status` per request to LOG, `-` where no response was sent.
'use strict';
const fs = require('fs');
const http = require('http');

const [port, log] = process.argv.slice(2);
const fd = fs.openSync(log, 'a');
const BIG = 10 * 1024 * 1024;
const BLOCK = Buffer.alloc(65536, 'x');

function record(method, target, status) {
  fs.writeSync(fd, `${method} ${target.split('?')[0]} ${status}\n`);
}

function sized(res, status, body) {
  res.writeHead(status, { 'Content-Length': body.length });
  res.end(body);
}

const verbs = {
  small(req, res) {
    if (req.headers['if-modified-since']) res.writeHead(304).end();
    else sized(res, 200, 'hello\n');
  },
  big(req, res) {
    res.writeHead(200, { 'Content-Length': BIG });
    let left = BIG;
    const more = () => {
      while (left > 0 && !res.destroyed) {
        left -= BLOCK.length;
        if (!res.write(BLOCK)) { res.once('drain', more); return; }
      }
      res.end();
    };
    more();
  },
  chunked(req, res) {
    res.writeHead(200, { 'Transfer-Encoding': 'chunked', Trailer: 'X-Trailer' });
    res.write('hello ');
    res.write('chunked ');
    res.addTrailers({ 'X-Trailer': 'yes' });
    res.end('world\n');
  },
  empty(req, res) { res.writeHead(204).end(); },
  error(req, res) { sized(res, 500, 'broken\n'); },
  echo(req, res) {
    let got = 0;
    req.on('data', (data) => { got += data.length; });
    req.on('end', () => sized(res, 200, `${got}\n`));
  },
  close(req, res) {
    // Node frames HTTP/1.1 answers itself; a close-delimited one is made by hand.
    raw(req, res, 200, 'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n' + 'y'.repeat(5000));
    req.socket.end();
  },
  cut(req, res) {
    raw(req, res, 200, 'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n' + 'z'.repeat(500));
    req.socket.end();
  },
  reset(req, res) {
    res.writeHead(200, { 'Content-Length': 1000 });
    res.write('z'.repeat(500));
    // The client says with one more byte that it has the first half.
    req.socket.once('readable', () => req.socket.resetAndDestroy());
    req.socket.on('data', () => req.socket.resetAndDestroy());
  },
  drop(req, res) { req.socket.destroy(); },
};

function raw(req, res, status, text) {
  res.rawStatus = status;
  req.socket.write(text);
}

const server = http.createServer((req, res) => {
  res.on('close', () => {
    record(req.method, req.url, res.rawStatus || (res.headersSent ? res.statusCode : '-'));
  });
  const verb = verbs[req.url.split('/')[1]];
  if (verb) verb(req, res);
  else sized(res, 404, 'no such verb\n');
});
server.on('upgrade', (req, socket, head) => {
  socket.on('error', () => {});
  socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n');
  record(req.method, req.url, 101);
  if (head.length) socket.write(head);
  socket.pipe(socket);
});
server.on('clientError', (error, socket) => socket.destroy());
server.keepAliveTimeout = 60000;
server.listen(Number(port), '::');

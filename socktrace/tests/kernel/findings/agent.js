// A client that makes an agent for each request. Each keeps its connection to be used again, and nobody
// does. With the argument `twin` all share one.
const http = require('http');
const [port, twin] = process.argv.slice(2);
const shared = new http.Agent({ keepAlive: true });
setInterval(() => {
  const agent = twin ? shared : new http.Agent({ keepAlive: true });
  http.get({ host: '10.0.0.9', port, agent }, (answer) => answer.resume());
}, 100);
console.log('asking', process.pid);
process.stdin.resume();
process.stdin.on('end', () => process.exit());

// ftp-srv, as its manual starts it.
const FtpSrv = require('ftp-srv')
const about = JSON.parse(process.argv[2])
const server = new FtpSrv({ url: `ftp://127.0.0.1:${about.port}`, pasv_url: '127.0.0.1', pasv_min: 30000, pasv_max: 40000 })
server.on('login', ({ username, password }, resolve, reject) => {
  if (username === about.user && password === about.password) resolve({ root: about.root })
  else reject(new Error('wrong password'))
})
server.listen()

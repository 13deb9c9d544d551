// The module ftpd, as its manual starts it. It lists with a function that later versions of Node have no more.
const util = require('util')
util.isDate = util.isDate || (value => value instanceof Date)
util.isRegExp = util.isRegExp || (value => value instanceof RegExp)
const { FtpServer } = require('ftpd')
const about = JSON.parse(process.argv[2])
const server = new FtpServer('127.0.0.1', { getInitialCwd: () => '/', getRoot: () => about.root, pasvPortRangeStart: 30000, pasvPortRangeEnd: 40000 })
server.on('client:connected', connection => {
  connection.on('command:user', (user, yes, no) => user === about.user ? yes() : no())
  connection.on('command:pass', (password, yes, no) => password === about.password ? yes(about.user) : no())
})
server.on('error', () => {})
server.listen(about.port)

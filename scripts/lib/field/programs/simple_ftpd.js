// simple-ftpd, as its manual starts it.
const fs = require('fs')
const about = JSON.parse(process.argv[2])
require('simple-ftpd')({ host: '127.0.0.1', port: about.port, root: about.root }, session => {
  session.on('pass', (user, password, done) => {
    if (user === about.user && password === about.password) done(null, 'welcome')
    else done(new Error('wrong password'))
  })
  session.on('stat', fs.stat)
  session.on('readdir', fs.readdir)
  session.on('read', (path, offset, done) => done(null, fs.createReadStream(path, { start: offset })))
})

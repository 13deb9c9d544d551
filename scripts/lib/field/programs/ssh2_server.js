// The module ssh2, with the little that a server for one tree needs.
const fs = require('fs')
const path = require('path')
const { Server, utils } = require('ssh2')
const { STATUS_CODE } = utils.sftp
const about = JSON.parse(process.argv[2])

const real = name => about.root + path.posix.resolve('/', name)
const code = error => ({ ENOENT: STATUS_CODE.NO_SUCH_FILE, EACCES: STATUS_CODE.PERMISSION_DENIED })[error.code] ?? STATUS_CODE.FAILURE
const facts = stat => ({ mode: stat.mode, uid: stat.uid, gid: stat.gid, size: stat.size, atime: stat.atimeMs / 1000 | 0, mtime: stat.mtimeMs / 1000 | 0 })

function serve (sftp) {
  const open = new Map()
  let last = 0
  const handle = thing => {
    const bytes = Buffer.alloc(4)
    bytes.writeUInt32BE(++last)
    open.set(last, thing)
    return bytes
  }
  const at = bytes => open.get(bytes.readUInt32BE(0))
  sftp.on('OPEN', (id, name) => fs.open(real(name), 'r', (error, file) => error ? sftp.status(id, code(error)) : sftp.handle(id, handle({ file }))))
  sftp.on('READ', (id, bytes, offset, length) => {
    const buffer = Buffer.alloc(length)
    fs.read(at(bytes).file, buffer, 0, length, offset, (error, count) => {
      if (error) sftp.status(id, code(error))
      else if (count === 0) sftp.status(id, STATUS_CODE.EOF)
      else sftp.data(id, buffer.subarray(0, count))
    })
  })
  sftp.on('FSTAT', (id, bytes) => fs.fstat(at(bytes).file, (error, stat) => error ? sftp.status(id, code(error)) : sftp.attrs(id, facts(stat))))
  sftp.on('OPENDIR', (id, name) => fs.readdir(real(name), (error, names) => error ? sftp.status(id, code(error)) : sftp.handle(id, handle({ names, name: real(name) }))))
  sftp.on('READDIR', (id, bytes) => {
    const directory = at(bytes)
    const some = directory.names.splice(0, 50)
    if (some.length === 0) return sftp.status(id, STATUS_CODE.EOF)
    sftp.name(id, some.map(filename => ({ filename, longname: filename, attrs: facts(fs.lstatSync(`${directory.name}/${filename}`)) })))
  })
  sftp.on('CLOSE', (id, bytes) => {
    const { file } = at(bytes)
    open.delete(bytes.readUInt32BE(0))
    if (file !== undefined) fs.closeSync(file)
    sftp.status(id, STATUS_CODE.OK)
  })
  sftp.on('REALPATH', (id, name) => sftp.name(id, [{ filename: path.posix.resolve('/', name), longname: '', attrs: {} }]))
  for (const [request, look] of [['STAT', fs.stat], ['LSTAT', fs.lstat]]) {
    sftp.on(request, (id, name) => look(real(name), (error, stat) => error ? sftp.status(id, code(error)) : sftp.attrs(id, facts(stat))))
  }
}

new Server({ hostKeys: [fs.readFileSync(`${about.keys}/host_ed25519`)] }, client => {
  client.on('authentication', login => {
    if (login.method === 'password' && login.username === about.user && login.password === about.password) login.accept()
    else login.reject(['password'])
  })
  client.on('ready', () => client.on('session', accept => accept().on('sftp', accept => serve(accept()))))
  client.on('error', () => {})
}).listen(about.port, '127.0.0.1')

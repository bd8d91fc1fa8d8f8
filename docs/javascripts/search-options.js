// An option is found as it is typed. To the search engine "--eval-split" asks for what does not have
// "eval", and "eval-split" for either word; here both ask for "eval", and for "split" the more.
const asked = (text) =>
  text.replace(/(^|\s)(--[a-z]\S*|[a-z]\w*-\S+)/gi, (_, space, option) => {
    const words = option.split("-").filter(Boolean)
    const last = words.pop() // may be half typed
    return space + [...words.map((word) => `+${word}`), last].join(" ")
  })

const send = Worker.prototype.postMessage
Worker.prototype.postMessage = function (message, ...rest) {
  const isQuery = message?.type === 2
  return send.call(this, isQuery ? { ...message, data: asked(message.data) } : message, ...rest)
}

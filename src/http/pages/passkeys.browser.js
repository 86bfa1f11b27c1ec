// The one script of our pages: it asks the browser for a passkey and sends what it says in an ordinary form. A form that
// needs it is hidden until it runs here; everything else works without.

const forms = globalThis.PublicKeyCredential?.parseRequestOptionsFromJSON
  ? document.querySelectorAll('form[data-passkey]')
  : []

for (const form of forms) {
  form.hidden = false
  for (const instead of document.querySelectorAll('[data-without-script]')) instead.remove()
  form.addEventListener('submit', (event) => {
    event.preventDefault()
    void send(form)
  })
}

async function send(form) {
  const button = form.querySelector('button')
  const note = form.querySelector('[role=status]')
  button.disabled = true
  note.textContent = ''
  try {
    const credential = await ask(form.dataset.passkey, JSON.parse(form.dataset.options))
    form.elements.answer.value = JSON.stringify(credential.toJSON())
    // Not requestSubmit: that would ask again.
    form.submit()
  } catch (error) {
    note.textContent =
      error?.name === 'InvalidStateError'
        ? 'This device has a passkey of this account already.'
        : 'Nothing was sent. Try again, or use another way.'
    button.disabled = false
  }
}

const ask = (what, options) =>
  what === 'create'
    ? navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(options) })
    : navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options) })

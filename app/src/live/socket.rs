use wasm_bindgen::JsCast as _;
use wasm_bindgen::closure::Closure;
use wasm_bindgen::prelude::JsValue;
use web_sys::{MessageEvent, WebSocket};

/// An open or opening WebSocket that closes when it is dropped and is never heard of afterwards.
pub(crate) struct Socket {
    socket: WebSocket,
    _on_message: Closure<dyn FnMut(MessageEvent)>,
    _on_end: Closure<dyn FnMut()>,
}

impl Socket {
    /// Opens one to `path` on the server that the page came from.
    pub(crate) fn open(
        path: &str,
        mut on_text: impl FnMut(String) + 'static,
        on_end: impl FnMut() + 'static,
    ) -> Result<Socket, JsValue> {
        let location = leptos::prelude::window().location();
        let scheme = if location.protocol()? == "https:" { "wss" } else { "ws" };
        let socket = WebSocket::new(&format!("{scheme}://{}{path}", location.host()?))?;
        let on_message = Closure::<dyn FnMut(MessageEvent)>::new(move |message: MessageEvent| {
            if let Some(text) = message.data().as_string() {
                on_text(text);
            }
        });
        let on_end = Closure::<dyn FnMut()>::new(on_end);
        socket.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
        // An error is always followed by a close, which is what is listened for.
        socket.set_onclose(Some(on_end.as_ref().unchecked_ref()));
        Ok(Socket { socket, _on_message: on_message, _on_end: on_end })
    }

    /// Sends a text. A closed socket is noticed by its end, not here.
    pub(crate) fn send(&self, text: &str) {
        let _ = self.socket.send_with_str(text);
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.socket.set_onmessage(None);
        self.socket.set_onclose(None);
        let _ = self.socket.close();
    }
}

# OpenBao's agent renders a file, and writes it anew when the secret changes.
auto_auth {
  method {
    type = "token_file"
    config = {
      token_file_path = "token"
    }
  }
}

template_config {
  static_secret_render_interval = "2s"
}

template {
  contents    = "{{ with secret \"secret/data/app/db\" }}{{ .Data.data.password }}{{ end }}"
  destination = "password"
  perms       = "0600"
  exec {
    command = ["sh", "-c", "echo a password of $(wc -c < password) characters"]
  }
}

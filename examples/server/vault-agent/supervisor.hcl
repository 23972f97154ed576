# OpenBao's agent runs a program with secrets in its environment, and starts it anew when one changes.
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

env_template "DB_PASSWORD" {
  contents             = "{{ with secret \"secret/data/app/db\" }}{{ .Data.data.password }}{{ end }}"
  error_on_missing_key = true
}

exec {
  command                   = ["sh", "-c", "echo a password of ${#DB_PASSWORD} characters; exec sleep 600"]
  restart_on_secret_changes = "always"
  restart_stop_signal       = "SIGTERM"
}
